//! SIGTERM: the server ends in order, soon, and loses nothing.
