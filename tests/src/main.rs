//! End-to-end tests: the real binaries, a real corpus, every job kind.

mod boundaries;
mod kills;
mod peers;
mod whole_way;
