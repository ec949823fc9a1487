//! Drives the router with a tiny random model: the shapes of answers, streams, errors, access, overload and repeatability.

mod access;
mod answers;
mod errors;
mod fixture;
mod load;
