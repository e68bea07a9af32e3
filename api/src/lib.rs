//! Kubernetes types: the upstream CRDs and SpiderNode, their labels and annotations, and the objects that a plan becomes.
