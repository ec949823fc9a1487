//! `cupola approve`.

use clap::Args;

use super::promotions::{change_served, person, say};
use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::promote::{Change, PromotionBook, approve};

/// Arguments of `cupola approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The promotion; the one that awaits approval where it is left out.
    pub id: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Approves a model that awaits it, and promotes it.
pub(super) fn run(args: &ApproveArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let book = PromotionBook::of(&projection);
    let act = global.act();
    let records = approve(&book, args.id.as_deref(), person(&act.actor.who(), &args.reason))?;
    change_served(&projection, &Change::new(&book, records.clone()), act, global)?;
    say(&records, global);
    Ok(Outcome::Done)
}
