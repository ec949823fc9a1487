//! Text to token ids and back: splitters, byte-pair encoding and Unigram, their training and their files; without the frame of a step.

pub mod report;
pub mod train;
pub mod unigram;
