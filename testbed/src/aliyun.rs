//! Simulates the parts of the Alibaba Cloud API that the product uses.
