//! The local world of the tests: a real control plane and simulated clouds. Never shipped.
