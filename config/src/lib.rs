//! The one YAML file of controller and CLI: what it may say, and the clouds that it opens.
