//! The `rehome` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    rehome::cli::main()
}
