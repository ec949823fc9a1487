//! Drives the router with a tiny random model: the shapes of answers, streams, errors, access, overload and repeatability.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod access;
mod adapters;
mod answers;
mod bodies;
mod connections;
mod document;
mod embeddings;
mod errors;
mod fixture;
mod forms;
mod key_file;
mod limits;
mod load;
mod moderation;
mod pages;
mod responses;
mod speculation;
mod stopping;
mod swap;
mod tls;
mod tools;
mod traces;
