//! API keys, secrets of the server and the audit log.

use taskhook::store::{AuditEntry, Pruned};
use taskhook_core::access::AccessChange;
use taskhook_core::retention::{Ages, Verdict};
use taskhook_core::{Decided, Subjects};

use super::data::Data;

impl Data {
    /// All API keys, as this transaction knows them.
    pub(super) fn load_api_keys(&self, subjects: &mut Subjects) {
        if !subjects.has_loaded_api_keys() {
            subjects.put_api_keys((*self.api_keys).clone());
        }
    }

    /// What has become of who may do what.
    pub(super) fn save_access(&mut self, decided: &[Decided]) {
        for change in decided.iter().flat_map(|one| &one.decision.access) {
            match change {
                AccessChange::KeyCreated(key) => drop(self.api_keys.put(key.id, key.clone())),
                AccessChange::KeyRevoked { key, .. } => drop(self.api_keys.remove(key)),
                AccessChange::SecretsKept(secrets) => {
                    for (name, sealed) in secrets {
                        self.secrets.put(name.clone(), sealed.clone());
                    }
                }
            }
        }
    }

    /// Appends to the audit log.
    pub(super) fn save_audit(&mut self, entries: &[AuditEntry]) {
        for entry in entries {
            let key = self.audit.last_key_value().map_or(1, |(last, _)| last + 1);
            self.audit.put(key, (self.now, entry.clone()));
        }
    }

    /// Takes away the oldest entries of the audit log. Whether there may be more to be taken away.
    pub(super) fn prune_audit(&mut self, ages: &Ages, rows_max: usize, pruned: &mut Pruned) -> bool {
        while pruned.rows < rows_max {
            let Some((key, (at, _))) = self.audit.first_key_value() else { return false };
            if ages.let_audit_go(self.now, *at) != Verdict::Goes {
                return false;
            }
            let key = *key;
            self.audit.remove(&key);
            pruned.rows += 1;
        }
        true
    }
}
