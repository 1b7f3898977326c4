package io.alluvium.bench;

import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.core.fs.ByteBufferReadable;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.FileSystemFactory;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.fs.local.LocalDataInputStream;
import org.apache.flink.core.fs.local.LocalFileSystem;

/**
 * A folder of this machine behind a link: {@code slow:///folder}, whose every read takes {@link #latencyMicros} longer.
 *
 * <p>Opening, listing and writing take nothing more, which is in favour of ForSt: the link in front of Alluvium's store delays
 * every request.
 */
public final class SlowFileSystem extends LocalFileSystem {
    static final String SCHEME = "slow";
    static volatile long latencyMicros;

    @Override
    public URI getUri() {
        return URI.create(SCHEME + ":///");
    }

    @Override
    public boolean isDistributedFS() {
        return true;
    }

    @Override
    public FSDataInputStream open(Path path) throws IOException {
        return new SlowStream((LocalDataInputStream) super.open(path));
    }

    @Override
    public FSDataInputStream open(Path path, int bufferSize) throws IOException {
        return open(path);
    }

    private static void pause() {
        long end = System.nanoTime() + TimeUnit.MICROSECONDS.toNanos(latencyMicros);
        for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }

    /** Without {@link ByteBufferReadable} ForSt reads byte by byte, each by a call of its own. */
    private static final class SlowStream extends FSDataInputStream implements ByteBufferReadable {
        private final LocalDataInputStream stream;

        SlowStream(LocalDataInputStream stream) {
            this.stream = stream;
        }

        @Override
        public int read(long position, ByteBuffer into) throws IOException {
            pause();
            return stream.read(position, into);
        }

        @Override
        public int read(ByteBuffer into) throws IOException {
            pause();
            return stream.read(into);
        }

        @Override
        public int read(byte[] into, int offset, int length) throws IOException {
            pause();
            return stream.read(into, offset, length);
        }

        @Override
        public int read() throws IOException {
            pause();
            return stream.read();
        }

        @Override
        public void seek(long position) throws IOException {
            stream.seek(position);
        }

        @Override
        public long getPos() throws IOException {
            return stream.getPos();
        }

        @Override
        public void close() throws IOException {
            stream.close();
        }
    }

    /** Found by Flink through {@code META-INF/services}. */
    public static final class Factory implements FileSystemFactory {
        @Override
        public String getScheme() {
            return SCHEME;
        }

        @Override
        public FileSystem create(URI uri) {
            return new SlowFileSystem();
        }
    }
}
