//! Caches of keys and values, which grow as candle's do where they are read.

use candle_core::{Device, Result};

use crate::export::candle::tensor_ops::TensorOps as _;
use crate::export::candle::traced::Traced;

/// As [`candle_nn::kv_cache::Cache`]; it has no room set aside.
#[derive(Clone, Debug)]
pub struct Cache {
    data: Option<Traced>,
    dim: usize,
    max_seq_len: usize,
}

impl Cache {
    /// An empty one that grows along an axis.
    pub fn new(dim: usize, max_seq_len: usize) -> Self {
        Self { data: None, dim, max_seq_len }
    }

    /// The axis along which it grows.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Its size along that axis.
    pub fn current_seq_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.dims()[self.dim])
    }

    /// The size up to which candle's own has room at first.
    pub fn max_seq_len(&self) -> usize {
        self.max_seq_len
    }

    /// What is in it.
    ///
    /// # Errors
    /// None.
    pub fn current_data(&self) -> Result<Option<Traced>> {
        Ok(self.data.clone())
    }

    /// Empties it.
    pub fn reset(&mut self) {
        self.data = None;
    }

    /// Adds to its end.
    ///
    /// # Errors
    /// When the other sizes differ.
    pub fn append(&mut self, src: &Traced) -> Result<()> {
        self.data = Some(appended(self.data.as_ref(), src, self.dim)?);
        Ok(())
    }
}

fn appended(data: Option<&Traced>, src: &Traced, dim: usize) -> Result<Traced> {
    data.map_or_else(|| Ok(src.clone()), |data| Traced::cat(&[data, src], dim))
}

macro_rules! pairs {
    ($(#[$doc:meta] $name:ident($cache:ident);)*) => {$(
        #[$doc]
        #[derive(Clone, Debug)]
        pub struct $name {
            k: $cache,
            v: $cache,
        }

        impl $name {
            /// An empty one that grows along an axis.
            pub fn new(dim: usize, max_seq_len: usize) -> Self {
                Self { k: $cache::new(dim, max_seq_len), v: $cache::new(dim, max_seq_len) }
            }

            /// The keys.
            pub fn k_cache(&self) -> &$cache {
                &self.k
            }

            /// The values.
            pub fn v_cache(&self) -> &$cache {
                &self.v
            }

            /// The keys, to be changed.
            pub fn k_cache_mut(&mut self) -> &mut $cache {
                &mut self.k
            }

            /// The values, to be changed.
            pub fn v_cache_mut(&mut self) -> &mut $cache {
                &mut self.v
            }

            /// The keys that are in it.
            ///
            /// # Errors
            /// None.
            pub fn k(&self) -> Result<Option<Traced>> {
                self.k.current_data()
            }

            /// The values that are in it.
            ///
            /// # Errors
            /// None.
            pub fn v(&self) -> Result<Option<Traced>> {
                self.v.current_data()
            }

            /// How many there are.
            pub fn current_seq_len(&self) -> usize {
                self.k.current_seq_len()
            }

            /// Empties it.
            pub fn reset(&mut self) {
                self.k.reset();
                self.v.reset();
            }
        }
    )*};
}

pairs! {
    /// As [`candle_nn::kv_cache::KvCache`].
    KvCache(Cache);
    /// As [`candle_nn::kv_cache::RotatingKvCache`].
    RotatingKvCache(RotatingCache);
}

impl KvCache {
    /// Adds keys and values, and gives all.
    ///
    /// # Errors
    /// When the other sizes differ.
    pub fn append(&mut self, k: &Traced, v: &Traced) -> Result<(Traced, Traced)> {
        self.k.append(k)?;
        self.v.append(v)?;
        let all = |cache: &Cache| cache.data.clone().expect("it was added to");
        Ok((all(&self.k), all(&self.v)))
    }
}

/// As [`candle_nn::kv_cache::RotatingCache`], of which the first filling can be traced.
#[derive(Clone, Debug)]
pub struct RotatingCache {
    data: Option<Traced>,
    dim: usize,
    max_seq_len: usize,
    current_seq_len: usize,
}

impl RotatingCache {
    /// An empty one of so many places along an axis.
    pub fn new(dim: usize, max_seq_len: usize) -> Self {
        Self { data: None, dim, max_seq_len, current_seq_len: 0 }
    }

    /// How many were added.
    pub fn current_seq_len(&self) -> usize {
        self.current_seq_len
    }

    /// How many there is room for.
    pub fn max_seq_len(&self) -> usize {
        self.max_seq_len
    }

    /// What is in it.
    ///
    /// # Errors
    /// None.
    pub fn current_data(&self) -> Result<Option<Traced>> {
        Ok(self.data.clone())
    }

    /// Empties it.
    pub fn reset(&mut self) {
        (self.data, self.current_seq_len) = (None, 0);
    }

    /// Adds to it, and gives what candle's gives.
    ///
    /// # Errors
    /// When the other sizes differ, and where candle's would begin to overwrite.
    pub fn append(&mut self, src: &Traced) -> Result<Traced> {
        let all = appended(self.data.as_ref(), src, self.dim)?;
        let (len, added) = (all.dims()[self.dim], src.dims()[self.dim]);
        let first = self.current_seq_len == 0;
        if len > self.max_seq_len && !first {
            candle_core::bail!("a cache that overwrites its places cannot be exported")
        }
        self.current_seq_len += added;
        // A first filling that is longer is attended to as a whole.
        self.data = Some(match len.checked_sub(self.max_seq_len) {
            Some(over) if over > 0 => all.narrow(self.dim, over, self.max_seq_len)?,
            _ => all.clone(),
        });
        Ok(all)
    }

    /// Which token is at each place after so many more, before it overwrites any.
    pub fn positions(&self, seq_len: usize) -> Vec<usize> {
        (0..self.current_seq_len + seq_len).collect()
    }
}

impl RotatingKvCache {
    /// Adds keys and values, and gives those to attend to.
    ///
    /// # Errors
    /// As [`RotatingCache::append`].
    pub fn append(&mut self, k: &Traced, v: &Traced) -> Result<(Traced, Traced)> {
        Ok((self.k.append(k)?, self.v.append(v)?))
    }

    /// How many were added.
    pub fn offset(&self) -> usize {
        self.k.current_seq_len() % self.k.max_seq_len().max(1)
    }

    /// Which token is at each place after so many more.
    pub fn positions(&self, seq_len: usize) -> Vec<usize> {
        self.k.positions(seq_len)
    }

    /// The mask of so many more: 1 where a query does not see a key; `None` for one alone.
    ///
    /// # Errors
    /// Candle's own, and where candle's would begin to overwrite.
    pub fn attn_mask(&self, seq_len: usize, device: &Device) -> Result<Option<Traced>> {
        if seq_len == 1 {
            return Ok(None);
        }
        let (before, room) = (self.k.current_seq_len(), self.k.max_seq_len());
        if before > 0 && before + seq_len > room {
            candle_core::bail!("a cache that overwrites its places cannot be exported")
        }
        let len = before + seq_len;
        let sees = |i: usize, j: usize| j <= before + i && (before + i) - j <= room;
        let mask: Vec<u8> =
            (0..seq_len).flat_map(|i| (0..len).map(move |j| u8::from(!sees(i, j)))).collect();
        Traced::from_vec(mask, (seq_len, len), device).map(Some)
    }
}

/// As [`candle_nn::kv_cache::ConcatKvCache`].
#[derive(Clone, Debug)]
pub struct ConcatKvCache {
    k: Option<Traced>,
    v: Option<Traced>,
    dim: usize,
}

impl ConcatKvCache {
    /// An empty one that grows along an axis.
    pub fn new(dim: usize) -> Self {
        Self { k: None, v: None, dim }
    }

    /// How many there are.
    pub fn current_seq_len(&self) -> usize {
        self.k.as_ref().map_or(0, |k| k.dims()[self.dim])
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.k.is_none()
    }

    /// The axis along which it grows.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Adds keys and values, and gives all.
    ///
    /// # Errors
    /// When the other sizes differ.
    pub fn append(&mut self, k: &Traced, v: &Traced) -> Result<(Traced, Traced)> {
        let k = appended(self.k.as_ref(), k, self.dim)?;
        let v = appended(self.v.as_ref(), v, self.dim)?;
        (self.k, self.v) = (Some(k.clone()), Some(v.clone()));
        Ok((k, v))
    }

    /// Empties it.
    pub fn reset(&mut self) {
        (self.k, self.v) = (None, None);
    }

    /// The keys.
    pub fn k(&self) -> Option<&Traced> {
        self.k.as_ref()
    }

    /// The values.
    pub fn v(&self) -> Option<&Traced> {
        self.v.as_ref()
    }
}
