//! Which tasks a command is about: the same flags for all that list or count them.

use clap::Args;

use crate::cli::input;

/// The filters of the API.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only those in this state; several with commas between them
    #[arg(long)]
    state: Option<String>,
    /// Only those of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only those of this kind of work
    #[arg(long)]
    name: Option<String>,
    /// Only those with this label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = input::pair)]
    labels: Vec<(String, String)>,
    /// Only those created after this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
}

impl Filter {
    /// As parameters of a request.
    pub(super) fn query(self) -> Vec<(&'static str, String)> {
        let given = [
            ("state", self.state),
            ("queue", self.queue),
            ("name", self.name),
            ("created_after", self.created_after),
        ];
        let labels = self.labels.into_iter().map(|(name, value)| ("label", format!("{name}:{value}")));
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(labels).collect()
    }
}
