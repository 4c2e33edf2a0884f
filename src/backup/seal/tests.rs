//! Sealing and unsealing.
