//! The server's own secrets, sealed.

use crate::store::read::{ReadError, Reader};
use crate::store::sqlite::{StoredSecret, secret_named};

impl Reader {
    /// The secret under `name`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn secret(&self, name: &'static str) -> Result<Option<StoredSecret>, ReadError> {
        self.run(move |connection| secret_named(connection, name)).await
    }
}
