// The GGUF reader on files written here byte by byte from the format's specification, not by a library.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "check.hpp"
#include "fastplr/errors.hpp"
#include "fastplr/model_info.hpp"
#include "model/gguf_reader.hpp"
#include "model/model_checks.hpp"
#include "model/printable.hpp"

namespace {

namespace fs = std::filesystem;
namespace gguf = fastplr::gguf;
using fastplr::ModelError;

/// Bytes of a file in the order in which they are added; numbers little-endian.
class Bytes {
  public:
    template <typename T>
    Bytes& number(T value) {
        char raw[sizeof(T)];
        std::memcpy(raw, &value, sizeof(T));
        data.append(raw, sizeof(T));
        return *this;
    }
    Bytes& text(const std::string& value) {
        number<std::uint64_t>(value.size());
        data += value;
        return *this;
    }
    Bytes& key(const std::string& name, std::uint32_t type) { return text(name).number(type); }
    Bytes& pad(std::size_t alignment) {
        data.resize((data.size() + alignment - 1) / alignment * alignment, '\0');
        return *this;
    }
    std::string data;
};

constexpr std::uint32_t kUint32 = 4, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9, kUint64 = 10;
constexpr std::uint32_t kF32 = 0, kF64 = 28;

/// A file that holds one tensor "x" of 3 float64 numbers and a few metadata entries; every part can be
/// replaced.
struct SmallFile {
    std::string magic = "GGUF";
    std::uint32_t version = 3;
    std::uint64_t n_tensors = 1;
    std::uint64_t n_entries = 4;
    std::function<void(Bytes&)> entries = [](Bytes& bytes) {
        bytes.key("general.architecture", kString).text("fastplr-classifier");
        bytes.key("answer", kUint32).number<std::uint32_t>(42);
        bytes.key("labels", kArray)
            .number(kString)
            .number<std::uint64_t>(2)
            .text("good")
            .text(
                "b\xC3\xA4"
                "d");
        bytes.key("counts", kArray).number(kUint64).number<std::uint64_t>(3);
        for (std::uint64_t value : {7u, 8u, 9u}) bytes.number(value);
    };
    std::string tensor_name = "x";
    std::vector<std::uint64_t> dims{3};
    std::uint32_t n_dims = 1;
    std::uint32_t type = kF64;
    std::uint64_t offset = 0;
    std::size_t n_bytes_cut = 0;

    std::string bytes() const {
        Bytes file;
        file.data = magic;
        file.number(version).number(n_tensors).number(n_entries);
        entries(file);
        file.text(tensor_name).number(n_dims);
        for (std::uint64_t dim : dims) file.number(dim);
        file.number(type).number(offset).pad(32);
        for (double value : {1.5, -2.0, 1e300}) file.number(value);
        file.data.resize(file.data.size() - n_bytes_cut);
        return file.data;
    }
};

/// A file in the temporary folder that is removed at the end of the test.
class TemporaryFile {
  public:
    explicit TemporaryFile(const std::string& bytes) {
        static int count = 0;
        path_ =
            fs::temp_directory_path() / ("fastplr_test_" + std::to_string(std::hash<std::string>{}(bytes)) +
                                         "_" + std::to_string(count++) + ".gguf");
        std::ofstream(path_, std::ios::binary)
            .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
    ~TemporaryFile() {
        std::error_code ignored;
        fs::remove(path_, ignored);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    std::string path() const { return path_.string(); }

  private:
    fs::path path_;
};

gguf::File open_bytes(const std::string& bytes) {
    const TemporaryFile file(bytes);
    return gguf::open(file.path());
}

gguf::File open_changed(const std::function<void(SmallFile&)>& change) {
    SmallFile file;
    change(file);
    return open_bytes(file.bytes());
}

/// A Llama of one block, width 32, 2 heads, 12 tokens.
struct TinyLlama {
    std::uint32_t n_layers = 1;
    std::uint32_t n_heads = 2;
    std::uint32_t n_heads_kv = 1;
    std::uint32_t n_embd = 32;
    std::uint32_t n_ctx = 64;
    float epsilon = 1e-5f;
    std::string scaling = "linear";
    std::string first_token = "t0";
    std::uint64_t n_tokens = 12;
    std::uint32_t norm_type = kF32;
    std::uint32_t weight_type = kF32;
    std::string block_name = "blk.0.attn_q.weight";
    std::string embedding_name = "token_embd.weight";
    std::uint32_t alignment = 32;

    std::string bytes() const {
        Bytes file;
        file.data = "GGUF";
        file.number<std::uint32_t>(3).number<std::uint64_t>(3).number<std::uint64_t>(12);
        file.key("general.architecture", kString).text("llama");
        file.key("general.alignment", kUint32).number(alignment);
        file.key("llama.block_count", kUint32).number(n_layers);
        file.key("llama.embedding_length", kUint32).number(n_embd);
        file.key("llama.context_length", kUint32).number(n_ctx);
        file.key("llama.attention.head_count", kUint32).number(n_heads);
        file.key("llama.attention.head_count_kv", kUint32).number(n_heads_kv);
        file.key("llama.attention.layer_norm_rms_epsilon", kFloat32).number(epsilon);
        file.key("llama.rope.scaling.type", kString).text(scaling);
        file.key("tokenizer.ggml.model", kString).text("gpt2");
        file.key("tokenizer.ggml.merges", kArray).number(kString).number<std::uint64_t>(0);
        file.key("tokenizer.ggml.tokens", kArray).number(kString).number(n_tokens);
        for (std::uint64_t i = 0; i < n_tokens; ++i)
            file.text(i == 0 ? first_token : "t" + std::to_string(i));
        std::uint64_t offset = 0;
        const auto tensor = [&](const std::string& name, std::vector<std::uint64_t> dims,
                                std::uint32_t type) {
            file.text(name).number(static_cast<std::uint32_t>(dims.size()));
            std::uint64_t n_bytes = type == 1 ? 2 : type == kF64 ? 8 : 4;
            for (std::uint64_t dim : dims) n_bytes *= dim;
            for (std::uint64_t dim : dims) file.number(dim);
            file.number(type).number(offset);
            offset = (offset + n_bytes + alignment - 1) / alignment * alignment;
        };
        tensor(embedding_name, {32, 12}, kF32);
        tensor(block_name, {32, 32}, weight_type);
        tensor("output_norm.weight", {32}, norm_type);
        file.pad(alignment);
        file.data.resize(file.data.size() + offset, '\0');
        return file.data;
    }
};

fastplr::ModelInfo info_of(const std::function<void(TinyLlama&)>& change) {
    TinyLlama model;
    change(model);
    const TemporaryFile file(model.bytes());
    return fastplr::read_model_info(file.path());
}

}  // namespace

TEST_CASE("a valid file is read exactly") {
    const TemporaryFile stored(SmallFile{}.bytes());
    const gguf::File file = gguf::open(stored.path());
    CHECK(file.version == 3);
    CHECK(file.alignment == 32);
    CHECK(file.data_position % 32 == 0);
    CHECK(file.file_size == file.data_position + 24);
    CHECK(file.find_string("general.architecture") == "fastplr-classifier");
    CHECK(file.find_unsigned("answer") == 42u);
    CHECK(!file.find_unsigned("labels"));
    CHECK(!file.has_key("missing"));
    CHECK(file.find_array("labels")->count == 2);
    CHECK((gguf::read_strings(file, "labels") == std::vector<std::string>{"good",
                                                                          "b\xC3\xA4"
                                                                          "d"}));
    CHECK((gguf::read_integers(file, "counts") == std::vector<std::int64_t>{7, 8, 9}));
    CHECK((gguf::read_doubles(file, "counts") == std::vector<double>{7, 8, 9}));
    CHECK(file.tensors.size() == 1);
    CHECK((file.find_tensor("x")->dims == std::vector<std::uint64_t>{3}));
    CHECK((gguf::read_tensor_f64(file, "x") == std::vector<double>{1.5, -2.0, 1e300}));
    CHECK(gguf::read_tensor_bytes(file, "x").size() == 24);
}

TEST_CASE("reading data says what does not fit") {
    const TemporaryFile stored(SmallFile{}.bytes());
    const gguf::File file = gguf::open(stored.path());
    const std::vector<std::uint64_t> other{4};
    CHECK_THROWS(gguf::read_tensor_f32(file, "x"), ModelError, "is of type f64; expected f32");
    CHECK_THROWS(gguf::read_tensor_f64(file, "x", &other), ModelError, "has the shape [3]; expected [4]");
    CHECK_THROWS(gguf::read_tensor_f64(file, "y"), ModelError, "no tensor 'y'");
    CHECK_THROWS(gguf::read_tensor_bytes(file, "x", 23), ModelError, "24 bytes; expected at most 23");
    CHECK_THROWS(gguf::read_strings(file, "counts"), ModelError, "holds uint64; expected strings");
    CHECK_THROWS(gguf::read_strings(file, "answer"), ModelError, "expected an array");
    CHECK_THROWS(gguf::read_integers(file, "labels"), ModelError, "holds string; expected integers");
    fs::resize_file(stored.path(), file.file_size - 8);
    CHECK_THROWS(gguf::read_tensor_f64(file, "x"), ModelError, "changed while it was read");
}

TEST_CASE("a file without tensors needs no padding after its metadata") {
    Bytes file;
    file.data = "GGUF";
    file.number<std::uint32_t>(3).number<std::uint64_t>(0).number<std::uint64_t>(1);
    file.key("k", kBool).number<std::uint8_t>(1);
    CHECK(open_bytes(file.data).metadata.size() == 1);
}

TEST_CASE("what is no file is named") {
    CHECK_THROWS(gguf::open(""), ModelError, "path is empty");
    CHECK_THROWS(gguf::open("/no/such/file.gguf"), ModelError, "'/no/such/file.gguf'");
    CHECK_THROWS(gguf::open(std::string("a\0b", 3)), ModelError, "NUL byte");
    CHECK_THROWS(gguf::open(fs::temp_directory_path().string()), ModelError, "is a directory");
    CHECK_THROWS(open_bytes(""), ModelError, "is empty");
}

TEST_CASE("a damaged header is refused") {
    CHECK_THROWS(open_changed([](SmallFile& f) { f.magic = "GGML"; }), ModelError, "begins with 'GGML'");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.magic = "FUGG"; }), ModelError, "big-endian");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.version = 1; }), ModelError,
                 "version 1; expected version 2 or 3");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.version = 4; }), ModelError, "version 4");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.version = 0x03000000; }), ModelError, "big-endian");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.n_tensors = 1u << 30; }), ModelError,
                 "1073741824 tensors");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.n_entries = ~0ull; }), ModelError, "metadata entries");
    CHECK_THROWS(open_bytes("GG"), ModelError, "begins with");
    CHECK_THROWS(open_bytes("GGUF"), ModelError, "cut short");
    CHECK(open_changed([](SmallFile& f) { f.version = 2; }).version == 2);
}

TEST_CASE("damaged metadata is refused") {
    const auto with_entry = [](const std::function<void(Bytes&)>& entry, std::uint64_t count = 1) {
        return open_changed([&](SmallFile& f) {
            f.entries = entry;
            f.n_entries = count;
        });
    };
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("k", 13).number<std::uint64_t>(0); }), ModelError,
                 "unknown type 13");
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("", kUint32).number<std::uint32_t>(0); }), ModelError,
                 "empty key");
    CHECK_THROWS(
        with_entry([](Bytes& b) { b.key(std::string("a\0b", 3), kUint32).number<std::uint32_t>(0); }),
        ModelError, "NUL byte in its key 'a\\x00b'");
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("k", kBool).number<std::uint8_t>(2); }), ModelError,
                 "value 2; expected 0 or 1");
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("k", kString).number<std::uint64_t>(1u << 20); }),
                 ModelError, "needs 1048576 bytes");
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("k", kString).number<std::uint64_t>(~0ull); }), ModelError,
                 "cut short");
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("k", kArray).number(kArray).number<std::uint64_t>(0); }),
                 ModelError, "holds arrays");
    CHECK_THROWS(
        with_entry([](Bytes& b) { b.key("k", kArray).number<std::uint32_t>(99).number<std::uint64_t>(0); }),
        ModelError, "unknown type 99");
    CHECK_THROWS(
        with_entry([](Bytes& b) { b.key("k", kArray).number(kUint64).number<std::uint64_t>(1ull << 61); }),
        ModelError, "has 2305843009213693952 elements");
    const auto twice = [](Bytes& b) {
        for (int i = 0; i < 2; ++i) b.key("k", kUint32).number<std::uint32_t>(1);
    };
    CHECK_THROWS(with_entry(twice, 2), ModelError, "'k' occurs twice");
    for (std::uint32_t alignment : {0u, 24u, 33u}) {
        CHECK_THROWS(with_entry([&](Bytes& b) { b.key("general.alignment", kUint32).number(alignment); }),
                     ModelError, "expected a power of two");
    }
    CHECK_THROWS(with_entry([](Bytes& b) { b.key("general.alignment", kUint64).number<std::uint64_t>(32); }),
                 ModelError, "expected uint32");
}

TEST_CASE("damaged tensor entries are refused") {
    CHECK_THROWS(open_changed([](SmallFile& f) { f.tensor_name = ""; }), ModelError, "empty name");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.tensor_name = std::string(64, 'x'); }), ModelError,
                 "at most 63");
    CHECK(open_changed([](SmallFile& f) { f.tensor_name = std::string(63, 'x'); }).tensors.size() == 1);
    CHECK_THROWS(open_changed([](SmallFile& f) {
                     f.n_dims = 5;
                     f.dims = {1, 1, 1, 1, 3};
                 }),
                 ModelError, "5 dimensions");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.dims = {0}; }), ModelError, "shape [0]");
    CHECK_THROWS(open_changed([](SmallFile& f) {
                     f.n_dims = 2;
                     f.dims = {1ull << 33, 1ull << 33};
                 }),
                 ModelError, "more elements than can be counted");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.dims = {1ull << 62}; }), ModelError,
                 "more bytes than can be counted");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.type = 4; }), ModelError,
                 "type 4, which ggml no longer supports");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.type = 31; }), ModelError, "no longer supports");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.type = 0x80000000u; }), ModelError, "does not know");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.type = 2; }), ModelError,
                 "rows of 3 elements; its type q4_0 needs a multiple of 32");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.offset = 8; }), ModelError,
                 "no multiple of the alignment 32");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.offset = 32; }), ModelError, "gap");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.dims = {5}; }), ModelError, "16 bytes are missing");
    CHECK_THROWS(open_changed([](SmallFile& f) { f.n_bytes_cut = 3; }), ModelError, "3 bytes are missing");
}

TEST_CASE("duplicate and overlapping tensors are refused") {
    const auto two_tensors = [](const std::string& second, std::uint64_t offset) {
        Bytes file;
        file.data = "GGUF";
        file.number<std::uint32_t>(3).number<std::uint64_t>(2).number<std::uint64_t>(0);
        file.text("x").number<std::uint32_t>(1).number<std::uint64_t>(16).number(kF32).number<std::uint64_t>(
            0);
        file.text(second).number<std::uint32_t>(1).number<std::uint64_t>(16).number(kF32).number(offset).pad(
            32);
        file.data.resize(file.data.size() + 128, '\0');
        return open_bytes(file.data);
    };
    CHECK(two_tensors("y", 64).tensors[1].offset % 32 == 0);
    CHECK_THROWS(two_tensors("x", 64), ModelError, "'x' occurs twice");
    CHECK_THROWS(two_tensors("y", 32), ModelError, "overlaps the tensor before it");
    CHECK_THROWS(two_tensors("y", 96), ModelError, "gap before it");
}

TEST_CASE("every truncation is refused") {
    const std::string whole = SmallFile{}.bytes();
    for (std::size_t length = 1; length < whole.size(); ++length) {
        CHECK_THROWS(open_bytes(whole.substr(0, length)), ModelError, "");
    }
}

TEST_CASE("every changed byte gives a file or a ModelError") {
    const std::string whole = SmallFile{}.bytes();
    int n_read = 0;
    for (std::size_t position = 0; position < whole.size(); ++position) {
        for (unsigned char value : {0x00, 0x01, 0x7F, 0x80, 0xFF}) {
            std::string changed = whole;
            changed[position] = static_cast<char>(value);
            const TemporaryFile stored(changed);
            try {
                const gguf::File file = gguf::open(stored.path());
                for (const gguf::Tensor& tensor : file.tensors)
                    (void)gguf::read_tensor_bytes(file, tensor.name);
                for (const gguf::MetadataEntry& entry : file.metadata) {
                    const gguf::Array* array = file.find_array(entry.key);
                    if (array != nullptr && array->element_type == gguf::ValueType::string)
                        (void)gguf::read_strings(file, entry.key);
                }
                ++n_read;
            } catch (const ModelError&) {
            }
        }
    }
    CHECK(n_read > 0);  // bytes of numbers and text may change
}

TEST_CASE("a sound model is described") {
    const fastplr::ModelInfo info = info_of([](TinyLlama&) {});
    CHECK(info.architecture == "llama");
    CHECK(info.n_layers == 1);
    CHECK(info.n_embd == 32);
    CHECK(info.n_ctx_train == 64);
    CHECK(info.n_vocab == 12);
    CHECK(info.n_parameters == 32 * 12 + 32 * 32 + 32);
    CHECK(info.tensor_mix.size() == 1);
    CHECK(info.tensor_mix[0].type == "F32");
    CHECK_NEAR(info.bits_per_weight, 32.0, 1e-12);
    CHECK(info.license.empty());
    CHECK(info.metadata.at("tokenizer.ggml.tokens").starts_with("12 x string [t0, t1, "));
    // 384 + 32 weights of 4 bytes and 1024 of 2: (416 * 4 + 1024 * 2) * 8 / 1440
    const fastplr::ModelInfo mixed = info_of([](TinyLlama& m) { m.weight_type = 1; });
    CHECK(mixed.tensor_mix[0].type == "F16");
    CHECK(mixed.tensor_mix[0].n_bytes == 2048);
    CHECK(mixed.tensor_mix[1].n_tensors == 2);
    CHECK_NEAR(mixed.bits_per_weight, (416.0 * 4 + 1024.0 * 2) * 8 / 1440, 1e-12);
}

TEST_CASE("hyperparameters that would stop llama.cpp are refused") {
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_layers = 0; }), ModelError,
                 "'llama.block_count' is 0; expected 1 to 512");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_layers = 513; }), ModelError, "is 513");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_heads = 0; }), ModelError,
                 "'llama.attention.head_count' is 0");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_heads = 3; }), ModelError, "does not divide");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_heads_kv = 0; }), ModelError, "head_count_kv");
    CHECK_THROWS(info_of([](TinyLlama& m) {
                     m.n_heads = 4;
                     m.n_heads_kv = 3;
                 }),
                 ModelError, "expected a divisor");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_heads = 32; }), ModelError, "expected an even number");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_ctx = 0; }), ModelError, "'llama.context_length' is 0");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_ctx = ~0u; }), ModelError, "4294967295");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.epsilon = -1.0f; }), ModelError,
                 "layer_norm_rms_epsilon' is -1");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.epsilon = std::nanf(""); }), ModelError,
                 "expected a finite number");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.scaling = "cubic"; }), ModelError,
                 "is 'cubic'; expected none, linear, yarn or longrope");
}

TEST_CASE("vocabularies and tensors that would stop llama.cpp are refused") {
    CHECK_THROWS(info_of([](TinyLlama& m) { m.first_token = "t5"; }), ModelError, "tokens 0 and 5");
    // llama.cpp reads tokens as C strings and would see "t5" here too.
    CHECK_THROWS(info_of([](TinyLlama& m) { m.first_token = std::string("t5\0x", 4); }), ModelError,
                 "tokens 0 and 5");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_tokens = 11; }), ModelError,
                 "expected the id of one of the 11 tokens");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_tokens = 13; }), ModelError,
                 "has the shape [32, 12]; expected [32, 13]");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_embd = 64; }), ModelError, "expected [64, 12]");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.embedding_name = "token_embd.bias"; }), ModelError,
                 "no tensor 'token_embd.weight'");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.n_layers = 2; }), ModelError, "no tensors of block 1");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.block_name = "blk.7.attn_q.weight"; }), ModelError,
                 "belongs to block 7");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.norm_type = 1; }), ModelError,
                 "'output_norm.weight' is of type f16");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.weight_type = kF64; }), ModelError,
                 "f64, which cannot hold weights");
    CHECK_THROWS(info_of([](TinyLlama& m) { m.alignment = 1; }), ModelError, "multiple of 32");
}

TEST_CASE("a classifier file is no model") {
    const TemporaryFile stored(SmallFile{}.bytes());
    CHECK_THROWS(fastplr::read_model_info(stored.path()), ModelError, "load it with fastplr.load");
}

TEST_CASE("text of unknown origin is made safe to show") {
    CHECK(fastplr::quoted("a'b\n\xFF") == "'a\\x27b\\x0a\\xff'");
    CHECK(fastplr::quoted("\xC3\xA4", 1) == "''... (2 bytes)");
    CHECK(fastplr::valid_utf8("a\xC3\xA4\xC3") == "a\xC3\xA4\xEF\xBF\xBD");
    CHECK(fastplr::valid_utf8("\xED\xA0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
    CHECK(fastplr::valid_utf8("\xF0\x9F\x98\x80") == "\xF0\x9F\x98\x80");
}
