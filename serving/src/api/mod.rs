//! The routes of OpenAI's API. A request's fields are read one by one ([`fields`]), so that what cannot be carried out is a 400 that
//! names it; only what OpenAI's API itself ignores is ignored.

mod error;
mod fields;

pub(crate) mod document;

mod admission;
mod form;
mod messages;
mod rate_headers;
mod sampling;
mod tools;

mod logprobs;
mod respond;
mod sse;

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod health;
pub(crate) mod models;
pub(crate) mod responses;

pub(crate) use error::{ApiError, duration_text};
pub(crate) use fields::Fields;
pub(crate) use sampling::random_u64;
