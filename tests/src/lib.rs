//! The bench that the end-to-end tests stand on: a folder with a corpus and a state of its own, and the real binaries.

mod house;

pub use house::{House, binary, repository};
