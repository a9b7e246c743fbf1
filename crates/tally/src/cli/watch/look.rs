//! How parts of the view are painted: colours where they are wanted, and never colours alone.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::cli::glyphs::Glyphs;

/// Glyphs and colours of a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) glyphs: &'static Glyphs,
    pub(crate) has_color: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    Heading,
    /// Says less than the rest.
    Quiet,
    Bar,
    Good,
    /// Wants to be seen.
    Bad,
    Selected,
}

impl Look {
    pub(super) fn style(self, role: Role) -> Style {
        let (color, modifier) = match role {
            Role::Plain => (None, Modifier::empty()),
            Role::Heading => (None, Modifier::BOLD),
            Role::Quiet => (None, Modifier::DIM),
            Role::Bar => (Some(Color::Cyan), Modifier::empty()),
            Role::Good => (Some(Color::Green), Modifier::empty()),
            Role::Bad => (Some(Color::Red), Modifier::BOLD),
            Role::Selected => (None, Modifier::REVERSED),
        };
        let style = Style::new().add_modifier(modifier);
        match color.filter(|_| self.has_color) {
            Some(color) => style.fg(color),
            None => style,
        }
    }

    pub(super) fn span(self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(role))
    }

    pub(super) fn line(self, role: Role, text: impl Into<String>) -> Line<'static> {
        Line::from(self.span(role, text))
    }
}
