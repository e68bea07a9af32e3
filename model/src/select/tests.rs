//! The cases of upstream documents, as a table.
