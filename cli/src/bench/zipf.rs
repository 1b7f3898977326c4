//! Ranks by Zipf's law: rank `k` of `n` is drawn with a probability proportional to `k^-s`.
//!
//! Rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", 1996): no table, and hardly ever more than one try.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "ranks are below 2^53 and were clamped to 1..=n"
)]
use alluvium_env::Entropy;

/// The law for one `n` and one `s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    ranks: f64,
    exponent: f64,
    at_first: f64,
    at_last: f64,
    /// A try this close to its rank need not be looked at again.
    sure: f64,
}

/// `ln(1 + x) / x`, which is 1 at 0.
fn ln_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

/// `(e^x − 1) / x`, which is 1 at 0.
fn exp_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

impl Zipf {
    /// `ranks` from 1 on, `exponent` above 0.
    pub(super) fn new(ranks: u64, exponent: f64) -> Self {
        let mut zipf = Self { ranks: ranks as f64, exponent, at_first: 0.0, at_last: 0.0, sure: 0.0 };
        zipf.at_first = zipf.area(1.5) - 1.0;
        zipf.at_last = zipf.area(zipf.ranks + 0.5);
        zipf.sure = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.density(2.0));
        zipf
    }

    fn density(self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density.
    fn area(self, x: f64) -> f64 {
        let log = x.ln();
        exp_ratio((1.0 - self.exponent) * log) * log
    }

    fn area_inverse(self, x: f64) -> f64 {
        let t = (x * (1.0 - self.exponent)).max(-1.0);
        (ln_ratio(t) * x).exp()
    }

    /// The next rank, from 0 on.
    pub(super) fn draw(self, random: &Entropy) -> u64 {
        loop {
            let share = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            let u = self.at_last + share * (self.at_first - self.at_last);
            let x = self.area_inverse(u);
            let rank = x.round().clamp(1.0, self.ranks);
            if rank - x <= self.sure || u >= self.area(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let (zipf, random) = (Zipf::new(1000, exponent), Entropy::from_seed(3));
            let mut seen = vec![0_u32; 1000];
            for _ in 0..DRAWS {
                seen[zipf.draw(&random) as usize] += 1;
            }
            let norm: f64 = (1..=1000).map(|k| f64::from(k).powf(-exponent)).sum();
            for rank in [1_u32, 2, 3, 10, 100] {
                let wanted = f64::from(DRAWS) * f64::from(rank).powf(-exponent) / norm;
                let got = f64::from(seen[rank as usize - 1]);
                // Five standard deviations.
                assert!(
                    (got - wanted).abs() < 5.0 * wanted.sqrt() + 1.0,
                    "s {exponent}, rank {rank}: {got}, {wanted}"
                );
            }
        }
    }

    #[test]
    fn one_rank_is_always_drawn() {
        assert_eq!(Zipf::new(1, 1.0).draw(&Entropy::from_seed(1)), 0);
    }
}
