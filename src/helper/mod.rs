//! What runs inside the helper container, and the words it speaks with the host.

pub mod protocol;
