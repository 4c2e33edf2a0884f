//! `rehome serve`: HTTP, over `ops` as the command line is.

pub mod pages;
