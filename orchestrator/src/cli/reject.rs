//! `cupola reject`.

use clap::Args;

use super::promotions::{change_served, person, say};
use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::promote::{Change, PromotionBook, reject};

/// Arguments of `cupola reject`.
#[derive(Debug, Args)]
pub struct RejectArgs {
    /// The promotion; the one that awaits approval where it is left out.
    pub id: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Rejects a model that awaits approval: no run promotes it any more.
pub(super) fn run(args: &RejectArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let book = PromotionBook::of(&projection);
    let act = global.act();
    let records = reject(&book, args.id.as_deref(), person(&act.actor.who(), &args.reason))?;
    change_served(&projection, &Change::new(&book, records.clone()), act, global)?;
    say(&records, global);
    Ok(Outcome::Done)
}
