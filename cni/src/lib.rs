//! The CNI protocol once: environment, stdin, versions, results, errors.
