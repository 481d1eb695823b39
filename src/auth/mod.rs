//! Floor 3: who is a client? A closed set of authenticators; no plug-ins.

use crate::config::Authentication;

/// Who says who a client is.
#[derive(Debug)]
pub enum Authenticator {
    /// Nobody is asked: every client is served, whatever it says about itself.
    None,
}

impl Authenticator {
    /// The authenticator that a port asks for.
    pub fn new(authentication: &Authentication) -> Self {
        match authentication {
            Authentication::None => Self::None,
        }
    }
}
