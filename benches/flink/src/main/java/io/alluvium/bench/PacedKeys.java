package io.alluvium.bench;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.lib.NumberSequenceSource.NumberSequenceSplit;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiter;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiterStrategy;
import org.apache.flink.connector.datagen.source.GeneratorFunction;

/**
 * The source of a job that takes checkpoints: every key once, then so many keys a second.
 *
 * <p>It never blocks its thread, where barriers begin: the rate limiter has the source come back later instead.
 */
final class PacedKeys implements GeneratorFunction<Long, Long> {
    private static final long serialVersionUID = 1;

    private final long keys;
    private final long seed;
    private transient Keys.Draw draw;

    PacedKeys(long keys, long seed) {
        this.keys = keys;
        this.seed = seed;
    }

    @Override
    public void open(SourceReaderContext context) {
        // A restored source draws other keys.
        draw = new Keys.Draw(keys, seed ^ Script.done(), context.getIndexOfSubtask());
    }

    @Override
    public Long map(Long ignored) {
        long index = Script.nextIndex.getAndIncrement();
        return Keys.key(index < keys ? index : draw.next(), seed);
    }

    /** Lets the load pass at once, nothing at rest, and {@code perSecond} updates a second. */
    static RateLimiterStrategy<NumberSequenceSplit> pace(long keys, double perSecond) {
        return sources -> new Pace(keys, perSecond);
    }

    private static final class Pace implements RateLimiter<NumberSequenceSplit> {
        private static final CompletionStage<Void> NOW = CompletableFuture.completedFuture(null);
        private static final Executor SOON = CompletableFuture.delayedExecutor(1, TimeUnit.MILLISECONDS);
        /** At rest nobody hurries, and the process is to be seen to be quiet. */
        private static final Executor LATER = CompletableFuture.delayedExecutor(20, TimeUnit.MILLISECONDS);

        private final long keys;
        private final double perSecond;

        Pace(long keys, double perSecond) {
            this.keys = keys;
            this.perSecond = perSecond;
        }

        @Override
        public CompletionStage<Void> acquire(int records) {
            if (passes()) {
                return NOW;
            }
            var passed = new CompletableFuture<Void>();
            tryAgain(passed);
            return passed;
        }

        private void tryAgain(CompletableFuture<Void> passed) {
            Executor when = Script.phase == Script.Phase.UPDATE ? SOON : LATER;
            when.execute(() -> {
                if (passes()) {
                    passed.complete(null);
                } else {
                    tryAgain(passed);
                }
            });
        }

        private boolean passes() {
            return switch (Script.phase) {
                case LOAD -> Script.nextIndex.get() < keys;
                case REST -> false;
                case UPDATE -> Script.isDue(perSecond);
            };
        }
    }
}
