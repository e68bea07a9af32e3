//! Both families, every mode, without a kernel.
