//! Waiting for the end of a task.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use taskhook_core::TaskKey;
use tokio::sync::oneshot;

/// Who waits for the end of which task. Register first, then look: an end in between is not missed.
#[derive(Debug, Default)]
pub struct Watch {
    waiting: Mutex<HashMap<TaskKey, Vec<oneshot::Sender<()>>>>,
}

impl Watch {
    /// Resolves when `task` ends, after now.
    pub fn end_of(&self, task: TaskKey) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let those = waiting.entry(task).or_default();
        // Whoever gave up is dropped here, so that the list stays as long as those who wait.
        those.retain(|one| !one.is_closed());
        those.push(tell);
        told
    }

    /// Tells those who wait for these tasks.
    pub fn tell(&self, ended: &[TaskKey]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return;
        }
        for one in ended.iter().filter_map(|task| waiting.remove(task)).flatten() {
            let _ = one.send(());
        }
    }

    /// Forgets those who gave up on `task`.
    pub fn forget(&self, task: TaskKey) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(those) = waiting.get_mut(&task) {
            those.retain(|one| !one.is_closed());
            if those.is_empty() {
                waiting.remove(&task);
            }
        }
    }
}
