//! Takes a shell script apart into the commands that it runs, as far as words alone say: quotes, pipes, lists,
//! here-documents, substitutions. Nothing is expanded: `$HOME` stays `$HOME`.
//! <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html>

/// A longer script is looked at only so far.
const LONGEST: usize = 256 << 10;

/// What a script runs.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Its commands, those that are connected by pipes together.
    pub pipelines: Vec<Vec<Simple>>,
    /// The scripts in it: `$(…)`, `` `…` ``.
    pub nested: Vec<String>,
}

/// A command.
#[derive(Debug, Default, Clone)]
pub(super) struct Simple {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// What a here-document gives it to read.
    pub stdin: Option<String>,
}

/// Words that may stand before a command.
const BEFORE: [&str; 10] = [
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "time",
];

enum Token {
    Word(String),
    /// What the command before reads.
    Stdin(String),
    Pipe,
    End,
}

/// Takes a script apart.
pub(super) fn parse(text: &str) -> Script {
    let letters: Vec<char> = text.chars().take(LONGEST).collect();
    let mut reader = Reader {
        text: &letters,
        at: 0,
        tokens: Vec::new(),
        word: None,
        nested: Vec::new(),
        waiting: Vec::new(),
    };
    reader.read();
    let mut script = Script {
        pipelines: Vec::new(),
        nested: reader.nested,
    };
    let (mut pipeline, mut simple) = (Vec::new(), Simple::default());
    for token in reader.tokens {
        match token {
            Token::Word(word) if simple.words.is_empty() && BEFORE.contains(&word.as_str()) => {}
            Token::Word(word) => simple.words.push(word),
            Token::Stdin(text) => simple.stdin = Some(text),
            Token::Pipe => pipeline.push(std::mem::take(&mut simple)),
            Token::End => {
                pipeline.push(std::mem::take(&mut simple));
                script.pipelines.push(std::mem::take(&mut pipeline));
            }
        }
    }
    script
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    tokens: Vec<Token>,
    word: Option<String>,
    nested: Vec<String>,
    /// Here-documents whose text comes after the line: the place of the token, the word that ends it, whether tabs are
    /// taken away.
    waiting: Vec<(usize, String, bool)>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.tokens.push(Token::Word(word));
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.tokens.push(Token::End);
    }

    fn read(&mut self) {
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            match letter {
                '\\' => match self.peek(0) {
                    Some('\n') => self.at += 1,
                    Some(next) => {
                        self.at += 1;
                        self.push(next);
                    }
                    None => {}
                },
                '\'' => self.quoted(),
                '"' => self.double_quoted(),
                '$' => self.dollar(),
                '`' => self.backquoted(),
                '#' if self.word.is_none() => self.skip_line(),
                '\n' => {
                    self.end_command();
                    self.here_documents();
                }
                ' ' | '\t' | '\r' => self.end_word(),
                ';' | '(' | ')' => self.end_command(),
                '&' => match self.peek(0) {
                    // `&>file`
                    Some('>') => {}
                    _ => self.end_command(),
                },
                '|' => match self.peek(0) {
                    Some('|') => {
                        self.at += 1;
                        self.end_command();
                    }
                    next => {
                        self.at += usize::from(next == Some('&'));
                        self.end_word();
                        self.tokens.push(Token::Pipe);
                    }
                },
                '<' | '>' => self.redirection(letter),
                other => self.push(other),
            }
        }
        self.end_command();
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.at += 1;
        }
    }

    fn quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            match letter {
                '\'' => return,
                other => self.push(other),
            }
        }
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            match letter {
                '"' => return,
                '\\' => match self.peek(0) {
                    Some(next @ ('"' | '\\' | '$' | '`')) => {
                        self.at += 1;
                        self.push(next);
                    }
                    Some('\n') => self.at += 1,
                    _ => self.push('\\'),
                },
                '$' => self.dollar(),
                '`' => self.backquoted(),
                other => self.push(other),
            }
        }
    }

    fn dollar(&mut self) {
        match self.peek(0) {
            Some('(') => {
                self.at += 1;
                let arithmetic = self.peek(0) == Some('(');
                let inside = self.until_closed();
                if !arithmetic {
                    self.nested.push(inside);
                }
                // Something is there, and nobody knows what.
                self.push('$');
            }
            _ => self.push('$'),
        }
    }

    /// What is in parentheses of which the first was read.
    fn until_closed(&mut self) -> String {
        let (mut inside, mut open) = (String::new(), 1);
        let mut quote: Option<char> = None;
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            match (quote, letter) {
                (Some(q), c) if q == c => quote = None,
                (None, '\'' | '"') => quote = Some(letter),
                (None, '(') => open += 1,
                (None, ')') => open -= 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
            inside.push(letter);
        }
        inside
    }

    fn backquoted(&mut self) {
        let mut inside = String::new();
        while let Some(letter) = self.peek(0) {
            self.at += 1;
            match letter {
                '`' => break,
                '\\' if matches!(self.peek(0), Some('`' | '\\' | '$')) => {}
                other => inside.push(other),
            }
        }
        self.nested.push(inside);
        self.push('$');
    }

    fn redirection(&mut self, letter: char) {
        // `2>&1`: the number belongs to it.
        if self
            .word
            .as_ref()
            .is_some_and(|word| word.chars().all(|c| c.is_ascii_digit()))
        {
            self.word = None;
        }
        self.end_word();
        if letter == '<' && self.peek(0) == Some('<') {
            self.at += 1;
            if self.peek(0) == Some('<') {
                self.at += 1;
                let text = self.next_word();
                self.tokens.push(Token::Stdin(text));
                return;
            }
            let tabs = self.peek(0) == Some('-');
            self.at += usize::from(tabs);
            let end = self.next_word();
            self.waiting.push((self.tokens.len(), end, tabs));
            self.tokens.push(Token::Stdin(String::new()));
            return;
        }
        if self.peek(0) == Some('(') {
            self.at += 1;
            let inside = self.until_closed();
            self.nested.push(inside);
            return;
        }
        while matches!(self.peek(0), Some('>' | '|' | '&')) {
            self.at += 1;
        }
        self.next_word();
    }

    /// The word that a redirection is about; it is no argument.
    fn next_word(&mut self) -> String {
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.at += 1;
        }
        while let Some(letter) = self.peek(0) {
            if letter.is_whitespace() || ";|&()<>".contains(letter) {
                break;
            }
            self.at += 1;
            match letter {
                '\'' => self.quoted(),
                '"' => self.double_quoted(),
                '\\' => {}
                other => self.push(other),
            }
        }
        self.word.take().unwrap_or_default()
    }

    fn here_documents(&mut self) {
        for (place, end, tabs) in std::mem::take(&mut self.waiting) {
            let mut text = String::new();
            while self.at < self.text.len() {
                let rest = &self.text[self.at..];
                let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                let line: String = rest[..length].iter().collect();
                self.at += (length + 1).min(rest.len());
                let line = if tabs {
                    line.trim_start_matches('\t')
                } else {
                    &line
                };
                if line == end {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            if let Some(Token::Stdin(stdin)) = self.tokens.get_mut(place) {
                *stdin = text;
            }
        }
    }
}
