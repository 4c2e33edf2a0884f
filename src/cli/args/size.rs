//! The arguments of `rehome size`.

use clap::Args;

use super::examples::SIZE_EXAMPLES;
use crate::model::ByteSize;

/// `rehome size`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = SIZE_EXAMPLES, group(clap::ArgGroup::new("of_a_record").multiple(true)))]
pub struct Size {
    /// Plan for so many records instead of measuring
    #[arg(long, value_name = "N", requires = "of_a_record")]
    pub records: Option<u64>,

    /// The files that belong to a record, as 6MB
    #[arg(long, value_name = "SIZE", requires = "records", group = "of_a_record")]
    pub record_size: Option<ByteSize>,

    /// What a record takes in the database, as 150KB
    #[arg(long, value_name = "SIZE", requires = "records", group = "of_a_record")]
    pub db_row_size: Option<ByteSize>,

    /// The growth to plan for, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = crate::plan::size::GROWTH_PERCENT,
        value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub growth: u32,
}
