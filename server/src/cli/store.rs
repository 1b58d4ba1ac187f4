//! Commands straight to a store, while no server runs on it: for the first key, for whoever has lost the last one, and for
//! the secret of a server that is not up.

use std::sync::Arc;

use taskhook_core::access::AccessCommand;
use taskhook_core::{Outcome, Permits, Refused};
use uuid::Uuid;

use crate::cli::{Code, Failed, serve};
use crate::clock::wall_clock;
use crate::config::{Config, Flags, StoreUrl};
use crate::engine::commit::{Batch, Node, commit};
use crate::engine::submission::Submission;
use crate::store::sqlite::{SqlitePath, SqliteStore};
use crate::store::{Author, BatchId};

/// Opens it, under the lock that keeps a server away.
///
/// # Errors
/// If its address is none, if a server runs on it, or if it cannot be opened.
pub(super) fn open(url: &str) -> anyhow::Result<SqliteStore> {
    let config = settings(Some(url.into()))?;
    let StoreUrl::Sqlite(path) = config.store;
    Ok(SqliteStore::open(&SqlitePath(path), wall_clock)?)
}

/// The settings of a server on this store; without one, of the server that `taskhook serve` would start here.
///
/// # Errors
/// If one is wrong.
pub(super) fn settings(store: Option<String>) -> anyhow::Result<Config> {
    let flags = Flags { store, ..Flags::default() };
    Ok(Config::load(&flags, serve::environment).map_err(|faults| serve::refused(&faults))?)
}

/// Decides a command and makes it durable, as a server would.
///
/// # Errors
/// Why it is refused, or what the store says.
pub(super) async fn submit(store: &mut SqliteStore, command: AccessCommand) -> anyhow::Result<()> {
    let now = wall_clock();
    let author = Author { key: None, address: "command line".into(), request: Uuid::now_v7().into_bytes() };
    let submission = Submission::By(Arc::new(author), Box::new(Submission::Access(command)));
    let batch = Batch { submissions: vec![&submission], ..Batch::default() };
    let node = Node { up_since: now, shown: now, permits: Permits::new(0, 0), full: false };
    let committed = commit(store, &node, &batch, || BatchId(Uuid::now_v7().as_u128())).await?;
    match committed.receipts.first().map(crate::engine::Receipt::outcome) {
        Some(Outcome::Applied) => Ok(()),
        Some(Outcome::Refused(why)) => Err(refused(why).into()),
        other => anyhow::bail!("the store has decided {other:?}"),
    }
}

fn refused(why: &Refused) -> Failed {
    match why {
        Refused::KeyNameTaken => {
            Failed::new(Code::Failed, "another API key has this name; choose another one, or revoke that")
        }
        Refused::NoSuchKey => Failed::new(Code::NotFound, "there is no API key with this id or name"),
        Refused::TooMany { what, max } => {
            Failed::new(Code::Failed, format!("there are {max} {what}, and there may be no more"))
        }
        other => Failed::new(Code::Failed, format!("refused: {other:?}")),
    }
}
