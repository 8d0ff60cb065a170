//! Scans: all items of a keyspace, a page at a time.

use std::collections::VecDeque;

use bytes::Bytes;
use kvorum_proto::convert;
use kvorum_proto::kvorum::v1;
use tonic::Streaming;

use crate::client::Client;
use crate::error::Effect;
use crate::types::{Found, item};
use crate::{Error, Options};

/// A scan under way. When a node fails in the middle, it goes on at another one behind the last
/// page: an item that does not change is returned exactly once.
#[derive(Debug)]
pub struct Scan {
    client: Client,
    prefix: Bytes,
    header_only: bool,
    /// How many more items may be returned; all when absent.
    remaining: Option<u32>,
    /// Where to go on; nothing before the first page.
    cursor: String,
    items: VecDeque<Found>,
    stream: Option<Streaming<v1::ScanResponse>>,
    done: bool,
}

impl Scan {
    pub(crate) const fn new(client: Client, prefix: Bytes) -> Scan {
        Scan {
            client,
            prefix,
            header_only: false,
            remaining: None,
            cursor: String::new(),
            items: VecDeque::new(),
            stream: None,
            done: false,
        }
    }

    /// Returns at most so many items.
    #[must_use]
    pub const fn limit(mut self, items: u32) -> Scan {
        self.remaining = Some(items);
        self
    }

    /// Returns items without their values.
    #[must_use]
    pub const fn header_only(mut self) -> Scan {
        self.header_only = true;
        self
    }

    /// The next item; nothing at the end.
    ///
    /// # Errors
    /// [`Error`]. The scan may be asked again: it goes on where it was.
    pub async fn next(&mut self) -> Result<Option<Found>, Error> {
        while self.items.is_empty() && !self.done {
            self.fetch().await?;
        }
        let item = self.items.pop_front();
        if let (Some(_), Some(remaining)) = (&item, &mut self.remaining) {
            *remaining = remaining.saturating_sub(1);
            self.done |= *remaining == 0;
            if *remaining == 0 {
                self.items.clear();
            }
        }
        Ok(item)
    }

    /// Takes the next page from the stream, which is opened first if there is none.
    async fn fetch(&mut self) -> Result<(), Error> {
        if self.remaining == Some(0) {
            self.done = true;
            return Ok(());
        }
        let page = match self.stream.take() {
            // A stream that breaks is worth one new beginning behind the page before.
            Some(stream) => match self.page_of(stream).await {
                Err(error) if error.is_worth_repeating(false) => {
                    let stream = self.open().await?;
                    self.page_of(stream).await?
                }
                result => result?,
            },
            None => {
                let stream = self.open().await?;
                self.page_of(stream).await?
            }
        };
        let Some(page) = page else {
            self.done = true;
            return Ok(());
        };
        self.items.extend(page.items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?);
        self.done = page.cursor.is_empty();
        self.cursor = page.cursor;
        Ok(())
    }

    /// The next page of a stream, which is kept for the page after it.
    async fn page_of(
        &mut self,
        mut stream: Streaming<v1::ScanResponse>,
    ) -> Result<Option<v1::ScanResponse>, Error> {
        let timeout = self.client.options().timeout;
        let page = match tokio::time::timeout(timeout, stream.message()).await {
            Ok(page) => page.map_err(|status| Error::from_status(&status, Effect::Reads))?,
            Err(_) => return Err(Error::timeout(Effect::Reads)),
        };
        self.stream = Some(stream);
        Ok(page)
    }

    async fn open(&self) -> Result<Streaming<v1::ScanResponse>, Error> {
        let Options { keyspace, consistency, .. } = self.client.options();
        let (level, max_stale_ms) = convert::wire_consistency(*consistency);
        self.client
            .run(Effect::Reads, |attempt| {
                let request = v1::ScanRequest {
                    keyspace: keyspace.clone(),
                    prefix: self.prefix.clone(),
                    cursor: self.cursor.clone(),
                    limit: self.remaining.unwrap_or(0),
                    header_only: self.header_only,
                    consistency: level.into(),
                    max_stale_ms,
                    timeout_ms: attempt.timeout_ms(),
                };
                async move { attempt.kv().scan(request).await }
            })
            .await
    }
}
