package io.alluvium.bench;

import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * The values: a word that counts changes and names the key, random bytes up to a half, and a half that compresses away.
 *
 * <p>Every value that is read is compared with its key: a store that answers wrongly ends the benchmark. {@code
 * operator/src/values.rs} is the same in Rust.
 */
final class Values implements Serializable {
    private static final long serialVersionUID = 1;
    private static final long STEP = 0x9E37_79B9_7F4A_7C15L;
    private static final byte FILLER = '=';

    private final int bytes;

    Values(int bytes) {
        if (bytes < Long.BYTES) {
            throw new IllegalArgumentException("--value-bytes " + bytes + " has no room for a counter of 8 bytes");
        }
        this.bytes = bytes;
    }

    /** The value of a key that was never changed. */
    byte[] first(long key) {
        byte[] value = new byte[bytes];
        int random = Math.max((bytes + 1) / 2, Long.BYTES);
        ByteBuffer words = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN);
        long state = key;
        while (words.position() < random) {
            long word = Keys.mix(state);
            for (int n = 0; n < Long.BYTES && words.position() < random; n++) {
                words.put((byte) (word >>> (8 * n)));
            }
            state += STEP;
        }
        Arrays.fill(value, random, bytes, FILLER);
        return value;
    }

    /** The next version of a value, in place. */
    void advance(long key, byte[] value) {
        if (value == null || value.length != bytes) {
            throw new IllegalStateException("the store answered wrongly: key " + key + " has no value of " + bytes + " bytes");
        }
        ByteBuffer words = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN);
        long word = Keys.mix(key);
        long version = words.getLong(0) ^ word;
        if (version >>> 32 != 0) {
            throw new IllegalStateException("the store answered wrongly: the value of key " + key + " is not its own");
        }
        words.putLong(0, (version + 1) ^ word);
    }
}
