import java.io.ByteArrayOutputStream;
import java.io.File;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.avro.Schema;
import org.apache.avro.file.CodecFactory;
import org.apache.avro.file.DataFileWriter;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;

/** Records of golden.avsc as Java's Avro writes them, from a fixed seed; the blocking encoder writes block sizes. */
public final class Generate {
    private static final String[] TEXTS = {"", "a", "plain text", "na\u00efve caf\u00e9", "\u65e5\u672c\u8a9e", "x".repeat(70)};
    private static final long[] LONGS = {0, -1, 1, 63, 64, -64, -65, Integer.MAX_VALUE, Long.MAX_VALUE, Long.MIN_VALUE};

    public static void main(String[] args) throws Exception {
        Schema schema = new Schema.Parser().parse(new File("../golden.avsc"));
        write(schema, "null", CodecFactory.nullCodec(), false);
        write(schema, "deflate", CodecFactory.deflateCodec(6), false);
        write(schema, "blocking", CodecFactory.nullCodec(), true);
    }

    private static void write(Schema schema, String name, CodecFactory codec, boolean blocking) throws Exception {
        GenericDatumWriter<Object> datums = new GenericDatumWriter<>(schema);
        Random random = new Random(11);
        try (DataFileWriter<Object> file = new DataFileWriter<>(datums)) {
            file.setCodec(codec);
            file.create(schema, new File("../java-" + name + ".avro"));
            for (int n = 0; n < 24; n++) {
                Object record = value(schema, random, n, 0);
                if (blocking) {
                    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                    BinaryEncoder encoder = new EncoderFactory().configureBlockSize(64).blockingBinaryEncoder(bytes, null);
                    datums.write(record, encoder);
                    encoder.flush();
                    file.appendEncoded(ByteBuffer.wrap(bytes.toByteArray()));
                } else {
                    file.append(record);
                }
                file.sync();
            }
        }
    }

    private static Object value(Schema schema, Random random, int n, int depth) {
        switch (schema.getType()) {
            case NULL: return null;
            case BOOLEAN: return random.nextBoolean();
            case INT: return schema.getLogicalType() != null ? random.nextInt(80_000) : random.nextInt();
            case LONG: return schema.getLogicalType() != null ? random.nextLong() >>> 14 : LONGS[random.nextInt(LONGS.length)];
            case FLOAT: return random.nextFloat();
            case DOUBLE: return random.nextDouble();
            case BYTES: return ByteBuffer.wrap(bytes(random, schema.getLogicalType() != null ? 5 : random.nextInt(40)));
            case STRING:
                if (schema.getLogicalType() != null) {
                    return new java.util.UUID(random.nextLong(), random.nextLong()).toString();
                }
                return TEXTS[random.nextInt(TEXTS.length)];
            case FIXED: {
                byte[] bytes = bytes(random, schema.getFixedSize());
                if (schema.getLogicalType() != null && schema.getFixedSize() == 8) {
                    bytes[0] = 0;
                    bytes[1] = 0;
                }
                return new GenericData.Fixed(schema, bytes);
            }
            case ENUM: return new GenericData.EnumSymbol(schema, schema.getEnumSymbols().get(random.nextInt(schema.getEnumSymbols().size())));
            case ARRAY: {
                List<Object> items = new ArrayList<>();
                for (int count = random.nextInt(9); count > 0; count--) {
                    items.add(value(schema.getElementType(), random, n, depth + 1));
                }
                return items;
            }
            case MAP: {
                Map<String, Object> entries = new LinkedHashMap<>();
                for (int count = random.nextInt(5); count > 0; count--) {
                    entries.put("k" + count, value(schema.getValueType(), random, n, depth + 1));
                }
                return entries;
            }
            case UNION: {
                int size = schema.getTypes().size();
                int branch = depth > 12 ? 0 : size > 2 ? n % size : random.nextInt(size);
                return value(schema.getTypes().get(branch), random, n, depth + 1);
            }
            case RECORD: {
                GenericData.Record record = new GenericData.Record(schema);
                for (Schema.Field field : schema.getFields()) {
                    record.put(field.pos(), value(field.schema(), random, n, depth + 1));
                }
                return record;
            }
            default: throw new IllegalArgumentException(schema.toString());
        }
    }

    private static byte[] bytes(Random random, int size) {
        byte[] bytes = new byte[size];
        random.nextBytes(bytes);
        return bytes;
    }
}
