//! Keeping running pods up to date: see [`refresh`].
