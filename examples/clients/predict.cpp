// Asks a deployment with libcurl (7.66 or newer):
//   g++ -std=c++17 -O2 -Wall predict.cpp -lcurl -o predict.bin && ./predict.bin DEPLOYMENT ROWS.json TENSORS.json

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

constexpr int kMaxRetries = 2;
constexpr long kMaxWaitMs = 120'000;
constexpr long kTimeoutMs = 60'000;

using Curl = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using Lines = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

struct Answer {
    CURLcode outcome = CURLE_OK;  // whether there is one at all
    long status = 0;
    curl_off_t retry_after_s = 0;
    std::map<std::string, std::string> headers;  // names in small letters
    std::string body;
};

std::mt19937& chance() {
    static std::mt19937 source{std::random_device{}()};
    return source;
}

size_t on_body(char* bytes, size_t, size_t size, void* answer) {
    static_cast<Answer*>(answer)->body.append(bytes, size);
    return size;
}

size_t on_header(char* bytes, size_t, size_t size, void* answer) {
    std::string line(bytes, size);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
        std::string name = line.substr(0, colon);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
        const size_t begin = line.find_first_not_of(" \t", colon + 1);
        static_cast<Answer*>(answer)->headers[name] = begin == std::string::npos ? "" : line.substr(begin);
    }
    return size;
}

// One answer, whatever it says.
Answer post(CURL* curl, const std::string& url, const std::string& body, curl_slist* headers) {
    Answer answer;
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5'000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, kTimeoutMs);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer);
    answer.outcome = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &answer.retry_after_s);  // seconds, also where it was a date
    return answer;
}

// Twice as long each time, and not the same for all who wait.
long pause_ms(int tries) {
    const double longest = std::min(250.0 * std::pow(2.0, tries - 1), 8000.0);
    return std::lround(longest * std::uniform_real_distribution<>(0.5, 1.0)(chance()));
}

std::string header(const Answer& answer, const std::string& name) {
    const auto found = answer.headers.find(name);
    return found == answer.headers.end() ? "" : found->second;
}

// Milliseconds until the next try; none where there should be none.
std::optional<long> wait_before_retry(int tries, const Answer& answer) {
    const std::string should = header(answer, "x-should-retry");
    const long status = answer.status;
    const bool passing = status == 408 || status == 409 || status == 429 || status >= 500;
    if (should == "false" || (should != "true" && !passing)) return std::nullopt;
    long asked_ms = std::strtol(header(answer, "retry-after-ms").c_str(), nullptr, 10);
    if (asked_ms <= 0) asked_ms = static_cast<long>(std::min<curl_off_t>(answer.retry_after_s, 1'000'000)) * 1000;
    if (asked_ms <= 0) return pause_ms(tries);
    return asked_ms <= kMaxWaitMs ? std::optional<long>(asked_ms) : std::nullopt;
}

// What a refusal says: `detail` of problem+json, `error` of /v2.
std::string detail(const std::string& text) {
    for (const std::string name : {"\"detail\":", "\"error\":"}) {
        const size_t found = text.find(name);
        const size_t begin = found == std::string::npos ? found : text.find('"', found + name.size());
        if (begin == std::string::npos) continue;
        std::string said;
        for (size_t i = begin + 1; i < text.size() && text[i] != '"'; ++i) {
            if (text[i] == '\\' && i + 1 < text.size()) ++i;  // \" is " and \\ is \ here
            said += text[i];
        }
        return said;
    }
    return text;
}

std::string new_idempotency_key() {
    static const char digits[] = "0123456789abcdef";
    std::random_device source;
    std::string key;
    while (key.size() < 32) key += digits[source() % 16];
    return key;
}

// The body of the answer. Its Idempotency-Key makes all tries one request: it is answered, and charged, once.
std::string ask(CURL* curl, const std::string& url, const std::string& body, const std::string& key) {
    Lines headers(nullptr, curl_slist_free_all);
    for (const std::string& line : {"Authorization: Bearer " + key, std::string("Content-Type: application/json"),
                                    "Idempotency-Key: " + new_idempotency_key()}) {
        headers.reset(curl_slist_append(headers.release(), line.c_str()));
    }
    for (int tries = 1;; ++tries) {
        const Answer answer = post(curl, url, body, headers.get());
        std::string reason;
        std::optional<long> wait_ms;
        if (answer.outcome != CURLE_OK) {
            reason = "no answer from " + url + ": " + curl_easy_strerror(answer.outcome);
            wait_ms = pause_ms(tries);
        } else if (answer.status == 200) {
            return answer.body;
        } else {
            reason = std::to_string(answer.status) + ": " + detail(answer.body);
            wait_ms = wait_before_retry(tries, answer);
        }
        if (!wait_ms || tries > kMaxRetries) throw std::runtime_error(reason);
        std::fprintf(stderr, "%s; trying again in %.3f s\n", reason.c_str(), *wait_ms / 1000.0);
        std::this_thread::sleep_for(std::chrono::milliseconds(*wait_ms));
    }
}

std::string read_file(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string("'") + path + "' cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

// 0: answered, 1: refused or not reached, 2: called wrongly.
int main(int num_words, char** words) {
    const char* url = std::getenv("MODELTAP_URL");
    const char* key = std::getenv("MODELTAP_KEY");
    if (!url || !*url || !key || !*key || num_words != 4) {
        std::cerr << "usage: MODELTAP_URL=… MODELTAP_KEY=… predict DEPLOYMENT ROWS.json TENSORS.json\n";
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = 0;
    try {
        Curl curl(curl_easy_init(), curl_easy_cleanup);
        if (!curl) throw std::runtime_error("libcurl cannot be used");
        std::string root = url;
        while (!root.empty() && root.back() == '/') root.pop_back();
        const std::unique_ptr<char, decltype(&curl_free)> escaped(curl_easy_escape(curl.get(), words[1], 0), curl_free);
        const std::string name = escaped.get();
        const std::string rows = read_file(words[2]), tensors = read_file(words[3]);
        std::cout << ask(curl.get(), root + "/predict/" + name, "{\"instances\": " + rows + "}", key) << std::endl;
        std::cout << ask(curl.get(), root + "/v2/models/" + name + "/infer", tensors, key) << std::endl;
    } catch (const std::exception& problem) {
        std::cerr << "error: " << problem.what() << "\n";
        status = 1;
    }
    curl_global_cleanup();
    return status;
}
