//! Waiting for the end of a task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use taskhook_core::TaskKey;
use tokio::sync::oneshot;

/// Who waits for the end of which task. Register first, then look: an end in between is not missed.
#[derive(Debug)]
pub struct Watch {
    /// `None`: the server is stopping, and nobody waits any more.
    waiting: Mutex<Option<Waiting>>,
}

type Waiting = HashMap<TaskKey, Vec<oneshot::Sender<()>>>;

/// A place among those who wait, given back when dropped: a caller may hang up at any time.
#[derive(Debug)]
pub struct End {
    watch: Arc<Watch>,
    task: TaskKey,
    told: oneshot::Receiver<()>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { waiting: Mutex::new(Some(HashMap::new())) }
    }
}

impl Watch {
    /// Waits from now on for the end of `task`.
    pub fn end_of(self: &Arc<Self>, task: TaskKey) -> End {
        let (tell, told) = oneshot::channel();
        self.with(|waiting| waiting.entry(task).or_default().push(tell));
        End { watch: self.clone(), task, told }
    }

    /// Tells those who wait for these tasks.
    pub fn tell(&self, ended: &[TaskKey]) {
        self.with(|waiting| {
            if waiting.is_empty() {
                return;
            }
            for one in ended.iter().filter_map(|task| waiting.remove(task)).flatten() {
                let _ = one.send(());
            }
        });
    }

    /// Lets nobody wait any more: those who do, and those who come, look at once.
    pub fn close(&self) {
        // Whose sender is dropped is told so.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> usize {
        let mut count = 0;
        self.with(|waiting| count = waiting.values().map(Vec::len).sum());
        count
    }

    fn with(&self, act: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            act(waiting);
        }
    }
}

impl End {
    /// Resolves when the task ends, or when nobody may wait any more.
    pub async fn comes(&mut self) {
        let _ = (&mut self.told).await;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.told.close();
        self.watch.with(|waiting| {
            let Some(those) = waiting.get_mut(&self.task) else { return };
            those.retain(|one| !one.is_closed());
            if those.is_empty() {
                waiting.remove(&self.task);
            }
        });
    }
}
