//! Following a listing to its end, and noticing when it has none.

use std::collections::HashSet;

use providers::{Class, Error};

use crate::settings::Endpoint;

/// More pages than any account fills (a million NICs): beyond, the cloud has lost count.
pub(crate) const MOST_PAGES: usize = 2_000;

/// More pages in a row that bring nothing new than any filter leaves empty: the listing goes in circles.
const MOST_BARREN_PAGES: usize = 20;

/// Follows the tokens of one listing, and notices when they lead nowhere.
pub(crate) struct Pages<'a> {
    action: &'a str,
    subject: &'a str,
    endpoint: &'a Endpoint,
    token: String,
    seen: HashSet<String>,
    /// How many different things the pages held.
    held: usize,
    barren: usize,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(action: &'a str, subject: &'a str, endpoint: &'a Endpoint) -> Self {
        Self { action, subject, endpoint, token: String::new(), seen: HashSet::new(), held: 0, barren: 0 }
    }

    /// Returns the token of the page to read now; the first has none.
    pub(crate) fn token(&self) -> Option<String> {
        (!self.token.is_empty()).then(|| self.token.clone())
    }

    /// Takes the token of the page that was read, and how many different things all pages held until now; tells whether
    /// there is another page. Only a missing token ends a listing: pages may be short, and even empty, in the middle.
    pub(crate) fn next(&mut self, token: String, held: usize) -> Result<bool, Error> {
        if token.is_empty() {
            return Ok(false);
        }
        self.barren = if held > self.held { 0 } else { self.barren + 1 };
        self.held = held;
        if self.barren > MOST_BARREN_PAGES {
            let reason =
                format!("{MOST_BARREN_PAGES} pages brought nothing new, so the listing would never end");
            return Err(self.error(&reason));
        }
        if !self.seen.insert(token.clone()) {
            return Err(self.error("a NextToken came a second time, so the listing would never end"));
        }
        if self.seen.len() >= MOST_PAGES {
            return Err(self.error(&format!("there is no end after {MOST_PAGES} pages")));
        }
        self.token = token;
        Ok(true)
    }

    pub(crate) fn error(&self, reason: &str) -> Error {
        failed(self.action, self.subject, self.endpoint, reason)
    }
}

/// Builds the error of a listing that the cloud did not end as it should.
pub(crate) fn failed(action: &str, subject: &str, endpoint: &Endpoint, reason: &str) -> Error {
    let host = endpoint.authority();
    Error::new(Class::Transient, format!("{action} for {subject} at {host} failed: {reason}"))
}
