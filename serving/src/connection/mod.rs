//! Connections before they are requests. `axum::serve` gives hyper no clock, so that a client may take for ever over a header; here is
//! an accept loop of our own, where every wait for a client has an end: headers and idle time ([`accept`]), bodies ([`pace`]), and
//! clients that do not read ([`stream`]). [`tls`] is below HTTP, where there is a certificate; [`linger`] ends a connection whose request was not read whole. How many may be open is counted in all and by address ([`census`]).

mod accept;
mod census;
mod linger;
mod pace;
mod stream;
mod tls;
mod validity;

pub(crate) use accept::Door;
pub(crate) use pace::{TooSlow, pace_body};
pub(crate) use tls::Certificates;
