//! Tables for people, in a form that documents can take over as it is.

use std::fmt;

/// Rows of cells, below a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with this heading, and nothing below it yet.
    pub fn new<S: ToString>(heading: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![heading.into_iter().map(|cell| cell.to_string()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let column = |at| self.rows.iter().filter_map(move |row| row.get(at)).map(String::len);
        (0..self.rows[0].len()).map(|at| column(at).max().unwrap_or(0).max(2)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                // What a row is about stands on the left, numbers on the right.
                match at {
                    0 => write!(f, "| {cell:width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                for (at, &width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width);
                    f.write_str(&if at == 0 {
                        format!("|{dashes}--|")
                    } else {
                        format!("{dashes}-:|")
                    })?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// A number with as many digits as tell something.
pub fn digits(number: f64) -> String {
    match number {
        number if number < 0.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}
