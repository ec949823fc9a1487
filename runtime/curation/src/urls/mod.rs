//! The filter on addresses of web pages: lists of domains and addresses, words and parts of words, as RefinedWeb (2023,
//! arXiv:2306.01116, appendix G.1) and FineWeb (2024, arXiv:2406.17557) use them.
//!
//! * A **domain** of a list blocks itself and every host below it.
//! * An **address** of a list blocks that address: scheme, port of the scheme, case of the host, fragment and closing `/` do not count.
//! * A **hard word** blocks an address that has it as a word: what stands between characters that are no letters or digits.
//! * **Soft words** block one that has several different ones.
//! * A **substring** blocks one that has it anywhere, characters that are no letters or digits left out.
//!
//! Lists are bytes: an entry a line, `#` starts a comment, gzip is unpacked. Domains and addresses are kept as sorted 64-bit hashes, eight
//! bytes each, so that lists of millions fit. IDN and percent signs are decoded before words are looked for.

mod address;
mod error;
mod filter;
mod hashes;
mod lines;

pub use address::{host_of, registered_domain};
pub use error::UrlError;
pub use filter::{List, UrlDrop, UrlFilter, UrlLists, UrlRule};
pub use lines::Skipped;
