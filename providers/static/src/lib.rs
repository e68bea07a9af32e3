//! The static provider: explicit addresses per node and NIC.
