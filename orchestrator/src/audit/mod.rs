//! The audit log: who changed what, in the journal.
//!
//! Every command of a person and every request of the API that changes state is one [`Act`](crate::state::Act): recorded in the same group
//! as the facts that it causes, or before its effect. Commands that another process carries out (`cancel` of a run that somebody drives)
//! travel with their act, and the holder of the folder records it. The projection does not keep acts: the log is read from the journal.
//!
//! It says what processes said of themselves. Who may write to the state folder may write anything into it: the log is for people who
//! work together, not against somebody who forges it.

mod actor;
mod log;

pub use actor::{act_of_api, act_of_command, actor_of_process, safe_arguments};
pub use log::{AuditEntry, AuditFilter, read_audit};
