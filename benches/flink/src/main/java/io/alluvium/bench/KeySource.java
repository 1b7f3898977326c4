package io.alluvium.bench;

import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.connector.datagen.source.GeneratorFunction;

/**
 * The source: every key once, then keys drawn uniformly, as fast as they are taken.
 *
 * <p>It runs in Flink's own generator source, on a task of its own, because the records are keyed behind it. It waits between
 * the phases; nothing else happens on its thread, since this job takes no checkpoints.
 */
final class KeySource implements GeneratorFunction<Long, Long> {
    private static final long serialVersionUID = 1;
    private static final long PAUSE_MILLIS = 1;

    private final long keys;
    private final long seed;
    private transient Keys.Draw draw;
    private transient long next;
    private transient long end;

    KeySource(long keys, long seed) {
        this.keys = keys;
        this.seed = seed;
    }

    @Override
    public void open(SourceReaderContext context) {
        draw = new Keys.Draw(keys, seed, context.getIndexOfSubtask());
    }

    @Override
    public Long map(Long ignored) throws InterruptedException {
        if (next < end) {
            return Keys.key(next++, seed);
        }
        while (Script.phase != Script.Phase.UPDATE) {
            if (Script.phase == Script.Phase.LOAD) {
                next = Math.min(Script.nextIndex.getAndAdd(Script.CHUNK), keys);
                end = Math.min(next + Script.CHUNK, keys);
                if (next < end) {
                    return Keys.key(next++, seed);
                }
            }
            Thread.sleep(PAUSE_MILLIS);
        }
        return Keys.key(draw.next(), seed);
    }
}
