//! Aligned tables.

use super::{Paint, clean};

/// Rows under headings, each column as wide as its longest cell.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; one that begins with `>` has its column aligned to the right.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self {
            head: headings
                .iter()
                .map(|heading| heading.trim_start_matches('>').to_owned())
                .collect(),
            right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells beyond the headings are dropped, missing ones are empty.
    pub fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        let mut row: Vec<String> = cells
            .into_iter()
            .map(|cell| clean(&cell.to_string()).replace('\n', " "))
            .collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&self.head]);
                cells
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let line = |row: &[String]| {
            let mut text = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let gap = " ".repeat(width - cell.chars().count().min(*width));
                let (before, after) = if *right {
                    (gap.as_str(), "")
                } else {
                    ("", gap.as_str())
                };
                text.push_str(&format!("{before}{cell}{after}  "));
            }
            text.trim_end().to_owned()
        };
        let mut out = Paint(color).strong(&line(&self.head)) + "\n";
        for row in &self.rows {
            out.push_str(&line(row));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["VOLUME", ">SIZE", "HOME"]);
        table.row(["postgres_data", "4.1 GB", "volume"]);
        table.row(["größe", "812 B"]);
        assert_eq!(
            table.render(false),
            "\
VOLUME           SIZE  HOME
postgres_data  4.1 GB  volume
größe           812 B
"
        );
    }
}
