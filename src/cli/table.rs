//! Lists for people: columns below each other.

use super::terminal::{Terminal, Tone, visible};

/// One cell: its text, and a tone where it has one.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
    right: bool,
}

/// Text; control characters become visible.
pub(super) fn cell(text: impl AsRef<str>) -> Cell {
    Cell {
        text: visible(text.as_ref()).replace(['\n', '\t'], " "),
        tone: None,
        right: false,
    }
}

impl Cell {
    /// In a tone.
    pub(super) fn tone(mut self, tone: Tone) -> Self {
        self.tone = Some(tone);
        self
    }

    /// Numbers stand below each other at their end.
    pub(super) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// The rows, one line each, two blanks between columns.
pub(super) fn table(rows: &[Vec<Cell>], terminal: &Terminal) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(Cell::width).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if *width == 0 {
                continue;
            }
            let blank = " ".repeat(width - cell.width());
            let text = match cell.tone {
                Some(tone) => terminal.tone(tone, &cell.text),
                None => cell.text.clone(),
            };
            let last = index + 1 == row.len();
            match (cell.right, last) {
                (true, _) => line.extend([blank, text]),
                (false, true) => line.push_str(&text),
                (false, false) => line.extend([text, blank]),
            }
            if !last {
                line.push_str("  ");
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{cell, table};
    use crate::cli::terminal::Terminal;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            vec![cell("a"), cell(""), cell("1").right(), cell("x")],
            vec![cell("äöü"), cell(""), cell("100").right(), cell("")],
            vec![cell("b\n\x1b"), cell("")],
        ];
        assert_eq!(
            table(&rows, &Terminal::plain()),
            "a           1  x\näöü       100\nb \\u{1b}\n"
        );
    }
}
