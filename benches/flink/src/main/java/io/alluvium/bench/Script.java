package io.alluvium.bench;

import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * What the sources emit, told by the main thread, and what the subtasks have done of it.
 *
 * <p>Everything runs in one process, so the parts of the job meet in static fields instead of in the plan that Flink ships.
 */
final class Script {
    enum Phase {
        /** Every key once, to be put. */
        LOAD,
        /** Nothing. */
        REST,
        /** Keys drawn uniformly, to be read, changed and put. */
        UPDATE
    }

    /** Indexes that a source takes at once. */
    static final long CHUNK = 1024;
    private static final int MAX_SUBTASKS = 128;
    /** Counters of two subtasks do not share a line of a processor's cache. */
    private static final int STRIDE = 16;

    static volatile Phase phase = Phase.LOAD;
    static final AtomicLong nextIndex = new AtomicLong();
    private static final AtomicLong paceSince = new AtomicLong();
    private static final AtomicLong paced = new AtomicLong();
    private static final AtomicLongArray done = new AtomicLongArray(MAX_SUBTASKS * STRIDE);

    private Script() {}

    static void enter(Phase next) {
        paceSince.set(System.nanoTime());
        paced.set(0);
        phase = next;
    }

    /** Takes one of the updates that are due at so many a second. */
    static boolean isDue(double perSecond) {
        double due = (System.nanoTime() - paceSince.get()) / 1e9 * perSecond;
        return paced.get() < due && paced.incrementAndGet() <= due;
    }

    /** Records that all subtasks have done. */
    static long done() {
        long sum = 0;
        for (int subtask = 0; subtask < MAX_SUBTASKS; subtask++) {
            sum += done.get(subtask * STRIDE);
        }
        return sum;
    }

    /** Counts the records of one subtask: a plain store each, no fence. */
    static final class Counter {
        private final int place;
        private long count;

        Counter(int subtask) {
            place = subtask * STRIDE;
            count = done.get(place);
        }

        void increment() {
            done.lazySet(place, ++count);
        }
    }
}
