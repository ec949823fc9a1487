//! `cupola rollback`.

use clap::Args;

use super::promotions::{change_served, check_there, person, spec_served};
use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::promote::{Change, PromoteError, PromotionBook, roll_back};

/// Arguments of `cupola rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Goes back to this promotion; to the one before the served one where it is left out.
    #[arg(long, value_name = "ID")]
    pub to: Option<String>,
    /// The spec; the newest that serves something where it is left out.
    #[arg(long, value_name = "NAME")]
    pub spec: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Goes back to the model that was served before.
pub(super) fn run(args: &RollbackArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let mut book = PromotionBook::of(&projection);
    let of_target = args.to.as_ref().and_then(|id| book.records.get(id)).map(|record| record.spec.clone());
    let spec = args.spec.clone().or(of_target).or_else(|| spec_served(&projection, &book));
    let spec = spec.ok_or(PromoteError::NothingServed)?;
    let act = global.act();
    let records = roll_back(&book, &spec, args.to.as_deref(), person(&act.actor.who(), &args.reason))?;
    let change = Change::new(&book, records.clone());
    for record in &records {
        book.take(record.clone());
    }
    let served = book.served(&spec).map(|served| served.now.clone()).ok_or(PromoteError::NothingServed)?;
    check_there(&served, &projection)?;
    change_served(&projection, &change, act, global)?;
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    if global.json {
        println!("{}", serde_json::json!({ "served": served, "rolled_back": ids }));
    } else {
        println!("rolled back: {}; {} is served", ids.join(", "), served.id);
    }
    Ok(Outcome::Done)
}
