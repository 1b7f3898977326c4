package io.alluvium.bench;

/**
 * The keys: 8 bytes, as good as random, known by their index; and the order in which they are drawn.
 *
 * <p>{@code operator/src/keys.rs} is the same in Rust, number for number: both jobs see the same records in the same order. A
 * {@code Long} is the key that is cheapest for Flink: its own serializer, no class of ours to hash.
 */
final class Keys {
    private static final long STEP = 0x9E37_79B9_7F4A_7C15L;

    private Keys() {}

    /** A bijective mix of 64 bits, the finalizer of SplitMix64. */
    static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58_476D_1CE4_E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D0_49BB_1331_11EBL;
        return z ^ (z >>> 31);
    }

    static long key(long index, long seed) {
        return mix(index + mix(seed));
    }

    /** Indexes below {@code count}, uniformly: SplitMix64, scaled by the high half of a product. */
    static final class Draw {
        private final long count;
        private long state;

        Draw(long count, long seed, int source) {
            this.count = count;
            this.state = mix(seed ^ mix(source + 1));
        }

        long next() {
            state += STEP;
            long random = mix(state);
            // The unsigned high half; Java 17 has the signed one only.
            return Math.multiplyHigh(random, count) + ((random >> 63) & count);
        }
    }
}
