//! Subscription filters: select messages by their attributes.
//!
//! ```text
//! filter     = unary { "AND" unary } | unary { "OR" unary }        mixing needs parentheses
//! unary      = [ "NOT" | "-" ] ( "(" filter ")" | comparison )
//! comparison = "attributes:" key | "attributes." key ("=" | "!=") text | "hasPrefix(attributes." key "," text ")"
//! ```

use crate::limits;
use std::collections::HashMap;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    /// The attribute exists.
    Has(String),
    /// The attribute exists and equals the text.
    Equal(String, String),
    /// The attribute exists and starts with the text.
    Prefix(String, String),
    /// All filters match.
    And(Vec<Filter>),
    /// At least one filter matches.
    Or(Vec<Filter>),
    /// The filter does not match.
    Not(Box<Filter>),
}

impl Filter {
    /// Parses the text; empty text matches everything.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.len() > limits::MAX_FILTER_BYTES {
            return Err(format!("the filter is longer than {} bytes", limits::MAX_FILTER_BYTES));
        }
        if text.trim().is_empty() {
            return Ok(None);
        }
        let mut parser = Parser { tokens: tokenize(text)?, position: 0, depth: 0 };
        let filter = parser.filter()?;
        match parser.next() {
            None => Ok(Some(filter)),
            Some(token) => Err(format!("unexpected {token:?} in the filter")),
        }
    }

    /// Whether the filter matches these attributes.
    pub(super) fn matches(&self, attributes: &HashMap<String, String>) -> bool {
        match self {
            Self::Has(key) => attributes.contains_key(key),
            Self::Equal(key, text) => attributes.get(key) == Some(text),
            Self::Prefix(key, text) => attributes.get(key).is_some_and(|value| value.starts_with(text)),
            Self::And(all) => all.iter().all(|filter| filter.matches(attributes)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(attributes)),
            Self::Not(filter) => !filter.matches(attributes),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(&'static str),
}

fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let sign = ["!=", "=", "(", ")", ",", ":", ".", "-"].into_iter().find(|sign| rest.starts_with(sign));
        rest = if first == '"' {
            let (text, rest) = quoted(&rest[1..])?;
            tokens.push(Token::Text(text));
            rest
        } else if let Some(sign) = sign {
            tokens.push(Token::Sign(sign));
            &rest[sign.len()..]
        } else {
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected '{first}' in the filter"));
            }
            tokens.push(Token::Word(rest[..end].into()));
            &rest[end..]
        }
        .trim_start();
    }
    Ok(tokens)
}

/// The text up to the closing quote, and the rest.
fn quoted(rest: &str) -> Result<(String, &str), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((text, &rest[at + 1..])),
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => text.push(c),
        }
    }
    Err("a quoted text in the filter does not end".into())
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.position).cloned();
        self.position += 1;
        token
    }

    fn accept(&mut self, expected: &Token) -> bool {
        let found = self.peek() == Some(expected);
        self.position += usize::from(found);
        found
    }

    fn accept_word(&mut self, word: &str) -> bool {
        self.accept(&Token::Word(word.into()))
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), String> {
        if self.accept(&Token::Sign(sign)) { Ok(()) } else { Err(format!("expected '{sign}' in the filter")) }
    }

    fn filter(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > limits::MAX_FILTER_DEPTH {
            return Err("the filter is nested too deeply".into());
        }
        let first = self.unary()?;
        let word = match self.peek() {
            Some(Token::Word(word)) if word == "AND" || word == "OR" => word.clone(),
            _ => {
                self.depth -= 1;
                return Ok(first);
            }
        };
        let mut terms = vec![first];
        while self.accept_word(&word) {
            terms.push(self.unary()?);
        }
        if matches!(self.peek(), Some(Token::Word(other)) if other == "AND" || other == "OR") {
            return Err("AND and OR in one filter need parentheses".into());
        }
        self.depth -= 1;
        Ok(if word == "AND" { Filter::And(terms) } else { Filter::Or(terms) })
    }

    fn unary(&mut self) -> Result<Filter, String> {
        if self.accept_word("NOT") || self.accept(&Token::Sign("-")) {
            return Ok(Filter::Not(Box::new(self.primary()?)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Filter, String> {
        if self.accept(&Token::Sign("(")) {
            let inner = self.filter()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.accept_word("hasPrefix") {
            self.expect("(")?;
            self.attributes()?;
            self.expect(".")?;
            let key = self.key()?;
            self.expect(",")?;
            let text = self.text()?;
            self.expect(")")?;
            return Ok(Filter::Prefix(key, text));
        }
        self.attributes()?;
        if self.accept(&Token::Sign(":")) {
            return Ok(Filter::Has(self.key()?));
        }
        self.expect(".")?;
        let key = self.key()?;
        if self.accept(&Token::Sign("!=")) {
            return Ok(Filter::Not(Box::new(Filter::Equal(key, self.text()?))));
        }
        self.expect("=")?;
        Ok(Filter::Equal(key, self.text()?))
    }

    fn attributes(&mut self) -> Result<(), String> {
        if self.accept_word("attributes") { Ok(()) } else { Err("expected 'attributes' in the filter".into()) }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(key) | Token::Text(key)) => Ok(key),
            _ => Err("expected an attribute's name in the filter".into()),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(text),
            _ => Err("expected quoted text in the filter".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, attributes: &[(&str, &str)]) -> bool {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Filter::parse(filter).unwrap().is_none_or(|filter| filter.matches(&attributes))
    }

    #[test]
    fn comparisons_use_attributes() {
        let gpu = [("kind", "gpu"), ("iana.org/language_tag", "en")];
        assert!(matches("", &gpu));
        assert!(matches(r#"attributes.kind = "gpu""#, &gpu));
        assert!(!matches(r#"attributes.kind = "cpu""#, &gpu));
        assert!(matches(r#"attributes.kind != "cpu""#, &gpu));
        assert!(matches(r#"attributes.missing != "cpu""#, &gpu));
        assert!(matches("attributes:kind", &gpu));
        assert!(!matches("attributes:missing", &gpu));
        assert!(matches(r#"hasPrefix(attributes.kind, "gp")"#, &gpu));
        assert!(matches(r#"attributes."iana.org/language_tag" = "en""#, &gpu));
    }

    #[test]
    fn connectives_combine() {
        let both = [("a", "1"), ("b", "2")];
        assert!(matches(r#"attributes.a = "1" AND attributes.b = "2""#, &both));
        assert!(matches(r#"attributes.a = "9" OR attributes:b"#, &both));
        assert!(matches(r#"NOT attributes:c AND -attributes.a = "2""#, &both));
        assert!(matches(r#"(attributes:c OR attributes:a) AND NOT (attributes:c)"#, &both));
    }

    #[test]
    fn invalid_filters_are_rejected() {
        let mixed = r"attributes:a AND attributes:b OR attributes:c";
        let deep = "(".repeat(100);
        for text in
            ["attributes", "attributes.a = 1", "data = \"x\"", "attributes:a attributes:b", "\"x", "%", mixed, &deep]
        {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
