//! Alibaba Cloud: V3 signature, ECS and VPC calls, credentials and metadata, mapped to the model.
