//! Whether the server is held, as people see it.

use taskhook_core::Timestamp;

use crate::store::read::{ReadError, Reader};
use crate::store::sqlite::held_since;

impl Reader {
    /// Since when the server is held; `None`: it is not.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn held(&self) -> Result<Option<Timestamp>, ReadError> {
        self.run(held_since).await
    }
}
